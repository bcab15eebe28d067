package archtest

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// manifest is the part of a Kubernetes object that the checks need.
type manifest struct {
	Kind     string
	Metadata struct {
		Name, Namespace string
	}
	Spec struct {
		Selector struct {
			MatchLabels map[string]string `yaml:"matchLabels"`
		}
		MaxUnavailable int `yaml:"maxUnavailable"`
		Template       struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				Grace           int `yaml:"terminationGracePeriodSeconds"`
				SecurityContext struct {
					RunAsNonRoot bool `yaml:"runAsNonRoot"`
				} `yaml:"securityContext"`
				Containers []container
			}
		}
	}
}

type container struct {
	Args            []string
	LivenessProbe   *probe `yaml:"livenessProbe"`
	ReadinessProbe  *probe `yaml:"readinessProbe"`
	SecurityContext struct {
		ReadOnly     bool  `yaml:"readOnlyRootFilesystem"`
		Escalation   *bool `yaml:"allowPrivilegeEscalation"`
		Capabilities struct{ Drop []string }
	} `yaml:"securityContext"`
}

type probe struct {
	HTTPGet struct{ Path string } `yaml:"httpGet"`
}

func manifests(t *testing.T) []manifest {
	t.Helper()
	var kustomization struct{ Resources []string }
	parseYAML(t, "deploy/kubernetes/kustomization.yaml", &kustomization)
	var all []manifest
	for _, name := range kustomization.Resources {
		d := yaml.NewDecoder(bytes.NewReader(read(t, "deploy/kubernetes/"+name)))
		for {
			var m manifest
			err := d.Decode(&m)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			all = append(all, m)
		}
	}
	return all
}

func TestKubernetesManifests(t *testing.T) {
	all := manifests(t)
	budgets := map[string]manifest{}
	for _, m := range all {
		if m.Metadata.Namespace != "" {
			t.Errorf("%s %s names a namespace", m.Kind, m.Metadata.Name)
		}
		if m.Kind == "PodDisruptionBudget" {
			budgets[m.Metadata.Name] = m
		}
	}
	var names []string
	for _, m := range all {
		if m.Kind != "Deployment" && m.Kind != "Job" {
			continue
		}
		names = append(names, m.Metadata.Name)
		pod := m.Spec.Template.Spec
		if len(pod.Containers) != 1 {
			t.Fatalf("%s has %d containers", m.Metadata.Name, len(pod.Containers))
		}
		c := pod.Containers[0]
		if !slices.Equal(c.Args, []string{strings.TrimPrefix(m.Metadata.Name, "capstan-")}) {
			t.Errorf("%s runs %q", m.Metadata.Name, c.Args)
		}
		s := c.SecurityContext
		if !pod.SecurityContext.RunAsNonRoot || !s.ReadOnly || s.Escalation == nil || *s.Escalation || !slices.Equal(s.Capabilities.Drop, []string{"ALL"}) {
			t.Errorf("%s: security context %+v %+v", m.Metadata.Name, pod.SecurityContext, s)
		}
		if m.Kind == "Job" {
			continue
		}
		if c.LivenessProbe == nil || c.LivenessProbe.HTTPGet.Path != "/healthz" || c.ReadinessProbe == nil || c.ReadinessProbe.HTTPGet.Path != "/readyz" {
			t.Errorf("%s: probes %+v %+v", m.Metadata.Name, c.LivenessProbe, c.ReadinessProbe)
		}
		if pod.Grace < 30 || m.Metadata.Name == "capstan-worker" && pod.Grace < 60 {
			t.Errorf("%s: %d s of grace", m.Metadata.Name, pod.Grace)
		}
		b := budgets[m.Metadata.Name]
		if b.Spec.MaxUnavailable != 1 || !maps.Equal(b.Spec.Selector.MatchLabels, m.Spec.Template.Metadata.Labels) {
			t.Errorf("%s has no disruption budget of its own", m.Metadata.Name)
		}
	}
	slices.Sort(names)
	if want := []string{"capstan-api", "capstan-migrate", "capstan-relay", "capstan-worker"}; !slices.Equal(names, want) {
		t.Errorf("workloads = %q, want %q", names, want)
	}
}
