package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/tasks"
)

func ExampleClient_Verify() {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", ContextTimeoutEnabled: true})
	defer rdb.Close()
	client, err := tasks.NewClient(rdb, tasks.WithKeyRingFile("keyring"))
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	id := "0123456789abcdefghjkmnpqrs" // that Send returned, from the user's session; so are the purpose and the address
	err = client.Verify(ctx, tasks.Answer{ID: id, Purpose: "sign-in", To: "alice@example.com", Typed: "1234 5678"})
	var wrong *tasks.WrongError
	switch {
	case err == nil:
		fmt.Println("Welcome.") // it is what was mailed, and now it is used
	case errors.As(err, &wrong):
		fmt.Printf("That is not the code. You have %d more tries.\n", wrong.TriesLeft)
	case tasks.IsRejected(err): // expired, used, locked, limited: one text for the user
		fmt.Println("This code is no longer valid. Ask for a new one, and if that does not help, try again tomorrow.")
	default:
		log.Print(err) // Redis trouble
		fmt.Println("Something went wrong on our side. Please try again later.")
	}
}
