# SPDX-License-Identifier: Apache-2.0
# A missing tool skips a test, with the reason; where CI=true it is a failure.
if("$ENV{CI}" STREQUAL "true")
  message(FATAL_ERROR "not found: ${MISSING}")
endif()
message("skipped: not found: ${MISSING}")
