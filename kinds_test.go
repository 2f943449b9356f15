package securemail_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"example.com/securemail/internal/config"
	"example.com/securemail/internal/credential"
	"example.com/securemail/internal/mailaddr"
	"example.com/securemail/internal/message"
	"example.com/securemail/tasks"
)

// TestKinds_EveryListKnowsEveryKind: a new kind in tasks.Kinds fails here once for each list that lacks it.
func TestKinds_EveryListKnowsEveryKind(t *testing.T) {
	address, err := mailaddr.Parse("no-reply@example.com")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, file := range []string{"README.md", "deploy/config.example.yaml", "cmd/worker/demo.go", "tasks/kind.go"} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[file] = string(content)
	}
	for _, info := range tasks.Kinds() {
		kind := info.Kind
		missing := func(list string, err error) { t.Errorf("%s: %s lacks it: %v", kind, list, err) }

		if info.Secret == "" || info.MaxLife < tasks.MinLife || info.Queue != tasks.Queue && info.Queue != tasks.QueueCodes {
			missing("tasks/kind.go", nil)
		}
		if _, err := (tasks.Mail{Kind: kind, To: "alice@example.com"}).Task(tasks.Making{Lives: tasks.DefaultLives(), Now: time.Now()}); err != nil {
			missing("tasks.Mail", err)
		}
		digits := 0
		if kind == tasks.Code {
			digits = 8
		}
		cred, err := credential.Derive(make([]byte, 32), credential.Params{Kind: kind, ID: "id", Purpose: "p", To: "t", Seed: make([]byte, tasks.SeedSize), Digits: digits})
		if err != nil {
			missing("credential.Derive", err)
		} else if a, err := credential.ReadAnswer(cred.Display().Reveal()); kind != tasks.TOTP && !cred.Match(a) {
			missing("credential.ReadAnswer, or Match", err)
		}
		sample, err := message.Sample(message.Sender{Address: address}, mailaddr.Address{}, "Example", kind, time.Hour)
		if err == nil {
			_, err = message.Compose(sample)
		}
		if err != nil {
			missing("package message, or its templates", err)
		}
		life := "max_life." + string(kind)
		if c, err := config.Load(config.Producer, "", nil, map[string]string{life: "5m"}); err != nil || c.MaxLife[kind] != 5*time.Minute {
			missing("package config", err)
		}
		for file, needs := range map[string]string{
			"README.md":                  "| `" + string(kind) + "` |",
			"deploy/config.example.yaml": "\n  # " + string(kind) + ": ",
			"cmd/worker/demo.go":         "tasks." + constant(texts["tasks/kind.go"], kind) + ":",
		} {
			if !strings.Contains(texts[file], needs) {
				missing(file, nil)
			}
		}
	}
}

// constant is the name of the kind's constant.
func constant(source string, kind tasks.Kind) string {
	before, _, _ := strings.Cut(source, ` Kind = "`+string(kind)+`"`)
	return strings.TrimSpace(before[strings.LastIndexByte(before, '\n')+1:])
}
