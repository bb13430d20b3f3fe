/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The numbers of PROTOCOL.md.
 */
#ifndef NARROWS_PROTOCOL_H
#define NARROWS_PROTOCOL_H

#define LINK_MAJOR 2
#define LINK_MINOR 0
#define FIRMWARE_VERSION "0.1.0"

enum {
    LINK_DATA_BYTES = 256,    /* of a tensor or blob in one frame */
    LINK_FRAME_BYTES = 280    /* the longest packet either side sends */
};

enum link_type {
    LINK_HELLO = 0x01,
    LINK_PING = 0x02,
    LINK_STATUS = 0x03,
    LINK_RESET = 0x04,
    LINK_BAUD = 0x05,
    LINK_REBOOT = 0x06,
    LINK_MODEL = 0x10,
    LINK_BLOB_BEGIN = 0x11,
    LINK_BLOB_DATA = 0x12,
    LINK_BLOB_END = 0x13,
    LINK_START = 0x20,
    LINK_STATE = 0x21,
    LINK_ROW = 0x22,
    LINK_OUTPUT = 0x23,
    LINK_TAKE = 0x24,
    LINK_PROFILE = 0x25,
    LINK_WATCH = 0x26,
    LINK_TENSOR = 0x27,
    LINK_NEXT = 0x28,
    LINK_INPUT = 0x29,
    LINK_INFER = 0x2A,
    LINK_FAULT = 0x30,
    LINK_ANSWER = 0x80        /* set in answers and events */
};

/* Beside enum nrw_status. */
enum link_error {
    LINK_ERR_TYPE = -32,      /* a request that this firmware does not know */
    LINK_ERR_LENGTH = -33,    /* a payload too short or too long for its type */
    LINK_ERR_VERSION = -34,   /* another major version of the protocol */
    LINK_ERR_GAP = -35,       /* bytes before these have not arrived */
    LINK_ERR_SIZE = -36,      /* a blob for which the flash has no room, or an empty one */
    LINK_ERR_UPLOAD = -37,    /* no upload was begun */
    LINK_ERR_NO_MODEL = -38,  /* no model that could run */
    LINK_ERR_RUN = -39,       /* another run than the one going on */
    LINK_ERR_FLASH = -40,     /* the flash did not take what was written */
    LINK_ERR_OLDER = -41,     /* the model's counter is below that of the one before */
    LINK_ERR_UNTRUSTED = -42, /* no signature, or not that of this blob and the firmware's key */
    LINK_ERR_HASH = -43,      /* the blob that has arrived is not the announced one */
    LINK_ERR_ROOM = -44       /* no room to hold whole inputs beside the arena */
};

enum {                           /* flags of START and INFER */
    LINK_START_PROFILE = 1,
    LINK_START_GOES_ON = 2
};

enum { LINK_SIGNED_ONLY = 1 };   /* flags of HELLO's answer */

/* How long the device waits for a frame at a new baud rate before it goes back to the old one. */
enum { LINK_BAUD_SECONDS = 2 };

enum { LINK_HAVE_TENSOR = 32 };  /* status of a run: a watched tensor has grown */

enum {                           /* what WATCH may name instead of a tensor */
    LINK_WATCH_ALL = 0xFFFE,
    LINK_WATCH_NONE = 0xFFFF
};

#endif
