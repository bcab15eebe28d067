// Package archtest holds no code, only tests of the house as a whole:
//
//   - the import map: which package may import which, and where bun, Asynq, the
//     environment and a provider's words may appear. imports_test.go is the map; a
//     new package needs a line there.
//   - the files under deploy/ and docker-compose.yml: that they parse, that Redis
//     never evicts, that every variable is explained in .env.example and that every
//     alert has its section in docs/runbook.md.
package archtest
