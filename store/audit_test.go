package store_test

import "testing"

func TestAuditOfAGoodLedger(t *testing.T) {
	t.Parallel()
	s := newShop(t, open(t), onApproval)
	_, op := s.approved(t)
	s.record(t, s.claim(t, op), confirmed(op))
	s.approved(t)
	found, err := s.Audit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range found {
		t.Logf("%s checked %d broken %v", i.ID, i.Checked, i.Broken)
		if i.BrokenCount != 0 || i.Checked == 0 && i.ID != "I11" && i.ID != "I12" {
			t.Errorf("%s (%s): checked %d, broken %v", i.ID, i.Rule, i.Checked, i.Broken)
		}
	}
}
