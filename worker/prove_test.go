package worker_test

import "flag"

// prove runs the large tests at their full size: minutes instead of seconds.
var prove = flag.Bool("prove", false, "run the large tests at their full size")
