package store_test

import "flag"

// prove asks for the long form of tests that are short by default.
var prove = flag.Bool("prove", false, "run long tests in full")
