// Package tasks is the contract between producers and workers: the nouns of the system, and the wire format of its
// tasks.
//
// Applications send and check mails with package securemail, the root of this module, and use the nouns of this
// package: [Mail], [Kind], [Status], [State], [Reason], [Ref], [Receipt] and the errors. A program that has an asynq
// client of its own can enqueue what [NewTask] returns. A program that reads tasks uses [ParseTask].
//
// # Compatibility
//
// Tasks in Redis outlive a deployment. A change that an older worker cannot ignore raises the version number inside the task,
// and an older worker leaves such a task for a newer one instead of refusing it. It ignores other fields that it does not know.
// This package writes and reads version 2; it refuses tasks of version 1.
package tasks
