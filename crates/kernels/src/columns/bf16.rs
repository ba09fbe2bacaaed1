//! The form for processors that multiply `bf16` numbers.

use std::ops::Range;

use half::bf16;

use super::ColumnTile;
use crate::cpu::Cpu;

/// Columns rounded to the upper half of an `f32`.
#[derive(Debug, Default)]
pub(crate) struct Bf16Tile {
    columns: Range<usize>,
    /// `(width / 2 rounded up, columns)`: two consecutive numbers of a column, the first in the lower
    /// half; the last is alone, beside zero, where the width is odd.
    pub(crate) pairs: Vec<i32>,
}

impl ColumnTile for Bf16Tile {
    fn fill(&mut self, _cpu: Cpu, columns: Range<usize>, values: &[f32]) {
        let num_columns = columns.len();
        let width = values.len() / num_columns;
        self.pairs.resize(width.div_ceil(2) * num_columns, 0);
        let bits = |value: &f32| u32::from(bf16::from_f32(*value).to_bits());
        for (i, column) in values.chunks_exact(width).enumerate() {
            let slots = self.pairs.iter_mut().skip(i).step_by(num_columns);
            for (slot, pair) in slots.zip(column.chunks(2)) {
                let high = pair.get(1).map_or(0, bits);
                *slot = (high << 16 | bits(&pair[0])).cast_signed();
            }
        }
        self.columns = columns;
    }

    fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }
}
