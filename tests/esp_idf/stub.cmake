# SPDX-License-Identifier: Apache-2.0
# cmake -D COMPONENT=FILE -P stub.cmake: what a component asks of ESP-IDF's build, a line each.
cmake_minimum_required(VERSION 3.16)

function(idf_component_register)
  cmake_parse_arguments(PARSE_ARGV 0 found "" "" "SRCS;INCLUDE_DIRS;PRIV_INCLUDE_DIRS;PRIV_REQUIRES")
  if(found_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "unknown: ${found_UNPARSED_ARGUMENTS}")
  endif()
  foreach(list SRCS INCLUDE_DIRS PRIV_INCLUDE_DIRS PRIV_REQUIRES)
    foreach(item ${found_${list}})
      execute_process(COMMAND ${CMAKE_COMMAND} -E echo "${list} ${item}")
    endforeach()
  endforeach()
endfunction()

function(target_compile_definitions library visibility definition)
  execute_process(COMMAND ${CMAKE_COMMAND} -E echo "DEFINITION ${definition}")
endfunction()

set(COMPONENT_LIB component)
include(${COMPONENT})
