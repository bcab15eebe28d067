package external_test

import "flag"

// prove runs what is cut short otherwise.
var prove = flag.Bool("prove", false, "run every fault against a gateway that calls back, too")
