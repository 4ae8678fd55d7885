file(REMOVE_RECURSE
  "CMakeFiles/model.dir/attention_cpu.cpp.o"
  "CMakeFiles/model.dir/attention_cpu.cpp.o.d"
  "CMakeFiles/model.dir/block.cpp.o"
  "CMakeFiles/model.dir/block.cpp.o.d"
  "CMakeFiles/model.dir/config.cpp.o"
  "CMakeFiles/model.dir/config.cpp.o.d"
  "CMakeFiles/model.dir/ends.cpp.o"
  "CMakeFiles/model.dir/ends.cpp.o.d"
  "CMakeFiles/model.dir/gradient.cpp.o"
  "CMakeFiles/model.dir/gradient.cpp.o.d"
  "CMakeFiles/model.dir/initial_value.cpp.o"
  "CMakeFiles/model.dir/initial_value.cpp.o.d"
  "CMakeFiles/model.dir/kernels.cpp.o"
  "CMakeFiles/model.dir/kernels.cpp.o.d"
  "CMakeFiles/model.dir/names.cpp.o"
  "CMakeFiles/model.dir/names.cpp.o.d"
  "CMakeFiles/model.dir/ops_composed.cpp.o"
  "CMakeFiles/model.dir/ops_composed.cpp.o.d"
  "CMakeFiles/model.dir/ops_fused.cpp.o"
  "CMakeFiles/model.dir/ops_fused.cpp.o.d"
  "CMakeFiles/model.dir/presets.cpp.o"
  "CMakeFiles/model.dir/presets.cpp.o.d"
  "CMakeFiles/model.dir/rotary.cpp.o"
  "CMakeFiles/model.dir/rotary.cpp.o.d"
  "CMakeFiles/model.dir/stage.cpp.o"
  "CMakeFiles/model.dir/stage.cpp.o.d"
  "libmodel.a"
  "libmodel.pdb"
)

# Per-language clean rules from dependency scanning.
foreach(lang CXX)
  include(CMakeFiles/model.dir/cmake_clean_${lang}.cmake OPTIONAL)
endforeach()
