package dev

// Parse lets the fuzz test read messages without sending them.
var Parse = parse
