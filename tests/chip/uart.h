/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the test of UARTs wants of a model, and what it gives to one.
 */
#ifndef UART_H
#define UART_H

#include "model.h"

/* --- given by each model ----------------------------------------------------------------- */

/* Bytes that wait in the receiver before one is lost. */
extern const uint32_t model_room;
/* The rate that the registers make, in baud; 0 if the UART is off. */
double model_rate(void);
/* All rates that any registers make: these many. */
uint32_t model_settings(void);
double model_setting(uint32_t number);
/* Whether the UART interrupts. */
bool model_interrupts(void);
/* A byte has come in on the line. */
void model_arrive(uint8_t byte);
/* One of the UART's clocks, which each access to a register takes. */
void model_clock(void);

/* --- given by the test ------------------------------------------------------------------- */

/* Let time pass: called by the model at each access. */
void pass(void);

/* --- the line out, for the models ---------------------------------------------------------- */

/* The shift register: what is in it goes out after a random time. */
struct shifter {
    uint8_t byte;
    uint32_t left; /* clocks; 0: empty */
};
void shift_begin(struct shifter *shifter, uint8_t byte);
/* Returns whether a byte is out by this clock. */
bool shift_clock(struct shifter *shifter);

/* --- a FIFO, for the models ------------------------------------------------------------------ */

enum { FIFO_MOST = 16 };
struct fifo {
    uint8_t bytes[FIFO_MOST];
    uint32_t count;
};
void fifo_put(struct fifo *fifo, uint8_t byte);
uint8_t fifo_take(struct fifo *fifo);

#endif
