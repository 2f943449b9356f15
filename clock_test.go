package securemail

import "time"

// SetClock lets time pass for the client.
func (c *Client) SetClock(now func() time.Time) { c.now = now }
