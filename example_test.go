package securemail_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail"
	"example.com/securemail/tasks"
)

func Example() {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", ContextTimeoutEnabled: true})
	defer rdb.Close()
	client, err := securemail.NewClient(rdb)
	if err != nil {
		log.Fatal(err)
	}
	// A second code to the same recipient waits until a minute after the first one.
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()

	receipt, err := client.Send(ctx, tasks.Mail{Kind: tasks.Code, To: "alice@example.com", Purpose: "sign-in"})
	switch {
	case errors.Is(err, tasks.ErrInvalid):
		log.Fatal(err) // the text names every field that is wrong, and holds no address
	case err != nil:
		log.Fatal(err) // Redis is unavailable: try again, with an IdempotencyKey to send the mail once
	}
	// Keep receipt.ID in the user's session: whatever has it can ask about the mail.

	status, err := client.Wait(ctx, receipt.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(status.State) // accepted: a relay took responsibility for the mail
}
