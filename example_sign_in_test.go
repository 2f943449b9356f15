package securemail_test

import (
	"context"
	"log"

	"github.com/redis/go-redis/v9"

	"example.com/securemail"
	"example.com/securemail/tasks"
)

func sendCode(ctx context.Context, client *securemail.Client, to string) (id string, err error) {
	receipt, err := client.Send(ctx, tasks.Mail{Kind: tasks.Code, To: to, Purpose: "sign-in"})
	return receipt.ID, err // keep the id in the person's session
}

func checkCode(ctx context.Context, client *securemail.Client, id, to, typed string) error {
	return client.Verify(ctx, tasks.Ref{ID: id, To: to, Purpose: "sign-in"}, typed) // nil: right
}

// The two handlers of a sign-in.
func Example_signIn() {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", ContextTimeoutEnabled: true})
	client, err := securemail.NewClient(rdb, securemail.WithKeyRingFile("keyring"))
	if err != nil {
		log.Fatal(err)
	}
	id, err := sendCode(context.Background(), client, "alice@example.com")
	if err != nil {
		log.Fatal(err)
	}
	if err := checkCode(context.Background(), client, id, "alice@example.com", "1234 5678"); err != nil {
		log.Fatal(err)
	}
}
