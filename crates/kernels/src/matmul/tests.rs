//! Every level against plain arithmetic in `f64`, at awkward shapes and with extreme numbers.
