// Package tasks is the contract between producers and workers: the nouns of the system, and the wire format of its
// tasks.
//
// Applications send and check mails with package securemail, the root of this module, and use the nouns of this
// package: [Mail], [Kind], [Status], [State], [Reason], [Ref], [Receipt] and the errors. A program that has an asynq
// client of its own can enqueue what [NewTask] returns. A program that reads tasks uses [ParseTask].
//
// # Compatibility
//
// Tasks in Redis outlive a deployment. A version of this package reads every task that an older one wrote, and ignores
// fields that a newer one added. A change that an older version cannot ignore raises the version number inside the task, and an
// older worker leaves such a task for a newer one instead of refusing it.
package tasks
