package enqueuer

// Bundle cuts work into the parcels that become tasks.
var Bundle = bundle
