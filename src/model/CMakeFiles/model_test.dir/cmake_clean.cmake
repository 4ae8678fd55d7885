file(REMOVE_RECURSE
  "../../model_test"
  "../../model_test.pdb"
  "CMakeFiles/model_test.dir/config_test.cpp.o"
  "CMakeFiles/model_test.dir/config_test.cpp.o.d"
  "CMakeFiles/model_test.dir/initial_value_test.cpp.o"
  "CMakeFiles/model_test.dir/initial_value_test.cpp.o.d"
  "CMakeFiles/model_test.dir/names_test.cpp.o"
  "CMakeFiles/model_test.dir/names_test.cpp.o.d"
  "CMakeFiles/model_test.dir/ops_test.cpp.o"
  "CMakeFiles/model_test.dir/ops_test.cpp.o.d"
  "CMakeFiles/model_test.dir/presets_test.cpp.o"
  "CMakeFiles/model_test.dir/presets_test.cpp.o.d"
  "CMakeFiles/model_test.dir/stage_test.cpp.o"
  "CMakeFiles/model_test.dir/stage_test.cpp.o.d"
)

# Per-language clean rules from dependency scanning.
foreach(lang CXX)
  include(CMakeFiles/model_test.dir/cmake_clean_${lang}.cmake OPTIONAL)
endforeach()
