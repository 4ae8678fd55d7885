# Files of plain loops. One binary serves every x86-64: the compiler makes each function for the
# vector units of the last ten years and the loader picks. Sanitizers cannot run that choice.
#
#   mapl_for_each_vector_unit(kernels.cpp)
#
# In the file, MAPL_CLONES is the attribute of a function that is compiled so, or nothing.
include(CheckCXXSourceCompiles)

set(MAPL_CLONES_VALUE "")
if(NOT MAPL_SANITIZE)
  set(attribute "[[gnu::target_clones(\"default\",\"arch=x86-64-v3\",\"arch=x86-64-v4\")]]")
  check_cxx_source_compiles("${attribute} int f(int x) { return x; } int main() { return f(0); }"
    MAPL_HAS_CLONES)
  if(MAPL_HAS_CLONES)
    set(MAPL_CLONES_VALUE "${attribute}")
  endif()
endif()

function(mapl_for_each_vector_unit)
  set_source_files_properties(${ARGN} PROPERTIES
    SKIP_PRECOMPILE_HEADERS ON
    COMPILE_OPTIONS "-fopenmp-simd;-fno-math-errno;-fno-trapping-math"
    COMPILE_DEFINITIONS "MAPL_CLONES=${MAPL_CLONES_VALUE}")
endfunction()
