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

func ExampleClient_Verify() {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", ContextTimeoutEnabled: true})
	defer rdb.Close()
	client, err := securemail.NewClient(rdb, securemail.WithKeyRingFile("keyring"))
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	id := "0123456789abcdefghjkmnpqrs" // from the user's session, as are the purpose and the address
	err = client.Verify(ctx, tasks.Ref{ID: id, Purpose: "sign-in", To: "alice@example.com"}, "1234 5678")
	var wrong *tasks.WrongError
	switch {
	case err == nil:
		fmt.Println("Welcome.") // the answer is right, and the secret is used up
	case errors.As(err, &wrong):
		fmt.Printf("That is not the code. You have %d more tries.\n", wrong.TriesLeft)
	case errors.Is(err, tasks.ErrUnreadable): // seven digits, an empty field: it was not counted
		fmt.Println("That is not a code. Type it as it stands in the mail.")
	case errors.Is(err, tasks.ErrRejected): // expired, used, locked, limited: one text for the user
		fmt.Println("This code is no longer valid. Ask for a new one, and if that does not help, try again tomorrow.")
	default:
		log.Print(err) // Redis is unavailable
		fmt.Println("Something went wrong on our side. Please try again later.")
	}
}
