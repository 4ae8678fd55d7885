# A room is a folder of src/ and a static library of the same name. What it may link is what it may
# include: the table in docs/design.md, kept true by tests/layering_test.cpp.
#
#   mapl_room(NAME codec TORCH SOURCES a.cpp ... LINK base math TESTS a_test.cpp ...)
#
# TORCH compiles the room with the shared precompiled <torch/torch.h>. TESTS become one GoogleTest
# program, <name>_test, run by ctest.

# WHY: designated initialisers that leave the rest to its default are house style.
add_compile_options(-Wall -Wextra -Wno-missing-field-initializers)
include_directories(${CMAKE_SOURCE_DIR}/src)

# WHY: LibTorch 2.x ships headers of another fmt, which would hide those of the fmt that we link: its
# folder comes before the system's, unless ours comes before both.
get_target_property(MAPL_FMT_INCLUDE fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/first)
file(CREATE_LINK ${MAPL_FMT_INCLUDE}/fmt ${CMAKE_BINARY_DIR}/first/fmt SYMBOLIC)
include_directories(BEFORE SYSTEM ${CMAKE_BINARY_DIR}/first)

# One precompiled header for every room that uses tensors: reading <torch/torch.h> takes 20 s.
add_library(mapl_torch_pch OBJECT ${CMAKE_SOURCE_DIR}/cmake/torch_pch.cpp)
target_include_directories(mapl_torch_pch SYSTEM PRIVATE ${TORCH_INCLUDE_DIRS})
target_link_libraries(mapl_torch_pch PRIVATE ${TORCH_LIBRARIES})
target_precompile_headers(mapl_torch_pch PRIVATE <torch/torch.h>)

function(mapl_use_torch target)
  target_link_libraries(${target} PUBLIC ${TORCH_LIBRARIES})
  target_precompile_headers(${target} REUSE_FROM mapl_torch_pch)
endfunction()

function(mapl_room)
  cmake_parse_arguments(ROOM "TORCH" "NAME" "SOURCES;LINK;TESTS" ${ARGN})
  add_library(${ROOM_NAME} STATIC ${ROOM_SOURCES})
  target_link_libraries(${ROOM_NAME} PUBLIC ${ROOM_LINK})
  if(ROOM_TORCH)
    mapl_use_torch(${ROOM_NAME})
  endif()
  if(ROOM_TESTS)
    add_executable(${ROOM_NAME}_test ${ROOM_TESTS})
    target_link_libraries(${ROOM_NAME}_test PRIVATE ${ROOM_NAME} GTest::gtest_main)
    if(ROOM_TORCH)
      mapl_use_torch(${ROOM_NAME}_test)
    endif()
    add_test(NAME ${ROOM_NAME} COMMAND ${ROOM_NAME}_test)
    set_tests_properties(${ROOM_NAME} PROPERTIES
      ENVIRONMENT "OPENBLAS_NUM_THREADS=1;OMP_NUM_THREADS=1" TIMEOUT 600)
  endif()
endfunction()
