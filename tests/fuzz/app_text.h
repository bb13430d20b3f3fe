/* SPDX-License-Identifier: Apache-2.0 */
/* The text of MLPerf Tiny's protocol, as a host knows it: which of the bytes that go to the device are text,
 * what commands there are, and whether the device's text is what firmware/PROTOCOL.md allows. */
#ifndef APP_TEXT_H
#define APP_TEXT_H

#include <stdbool.h>
#include <stdint.h>

/* app.c's generator: below n. */
uint32_t random_below(uint32_t n);

/* A byte goes to the device. Returns whether it is text, and so no part of a frame. */
bool text_put(uint8_t byte);

/* The device has been reset, and what was on the way to it is gone. */
void text_was_reset(void);

/* What has gone to the device is not known, or some of it has not arrived; and all commands were answered. */
void text_forget(void);

/* No byte has gone to the device for so long that it gives up a frame that has begun. Returns whether one
 * had. */
bool text_silence(void);

/* Whether the last byte was text. */
bool text_is_spoken(void);

/* Commands that have no answer yet. */
uint32_t text_due(void);

/* A byte of text from the device. */
void text_heard(uint8_t byte);

/* A command that may be right, its end included. */
enum { TEXT_MOST_BYTES = 700 };
const char *text_command(uint32_t input_bytes);

/* Whether the last answer that has ended had an error. */
bool text_failed(void);

/* The scores of the last results, of steps of 1. Returns how many. */
uint32_t text_scores(int32_t *scores, uint32_t most);

/* Print what was said, and require that all of it was. */
void text_report(void);

#endif
