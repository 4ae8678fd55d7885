# CMake generated Testfile for 
# Source directory: /tmp/mm/src/model
# Build directory: /tmp/mm/src/model
# 
# This file includes the relevant testing commands required for 
# testing this directory and lists subdirectories to be tested as well.
add_test([=[model]=] "/tmp/mm/model_test")
set_tests_properties([=[model]=] PROPERTIES  ENVIRONMENT "OPENBLAS_NUM_THREADS=1;OMP_NUM_THREADS=1" TIMEOUT "600" _BACKTRACE_TRIPLES "/tmp/mm/cmake/room.cmake;36;add_test;/tmp/mm/src/model/CMakeLists.txt;1;mapl_room;/tmp/mm/src/model/CMakeLists.txt;0;")
