
# Consider dependencies only in project.
set(CMAKE_DEPENDS_IN_PROJECT_ONLY OFF)

# The set of languages for which implicit dependencies are needed:
set(CMAKE_DEPENDS_LANGUAGES
  )

# The set of dependency files which are needed:
set(CMAKE_DEPENDS_DEPENDENCY_FILES
  "/tmp/mm/src/model/attention_cpu.cpp" "src/model/CMakeFiles/model.dir/attention_cpu.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/attention_cpu.cpp.o.d"
  "/tmp/mm/CMakeFiles/mapl_torch_pch.dir/cmake_pch.hxx" "src/model/CMakeFiles/model.dir/attention_cpu.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/attention_cpu.cpp.o.d"
  "/tmp/mm/src/model/block.cpp" "src/model/CMakeFiles/model.dir/block.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/block.cpp.o.d"
  "/tmp/mm/CMakeFiles/mapl_torch_pch.dir/cmake_pch.hxx" "src/model/CMakeFiles/model.dir/block.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/block.cpp.o.d"
  "/tmp/mm/src/model/config.cpp" "src/model/CMakeFiles/model.dir/config.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/config.cpp.o.d"
  "/tmp/mm/CMakeFiles/mapl_torch_pch.dir/cmake_pch.hxx" "src/model/CMakeFiles/model.dir/config.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/config.cpp.o.d"
  "/tmp/mm/src/model/ends.cpp" "src/model/CMakeFiles/model.dir/ends.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/ends.cpp.o.d"
  "/tmp/mm/CMakeFiles/mapl_torch_pch.dir/cmake_pch.hxx" "src/model/CMakeFiles/model.dir/ends.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/ends.cpp.o.d"
  "/tmp/mm/src/model/gradient.cpp" "src/model/CMakeFiles/model.dir/gradient.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/gradient.cpp.o.d"
  "/tmp/mm/CMakeFiles/mapl_torch_pch.dir/cmake_pch.hxx" "src/model/CMakeFiles/model.dir/gradient.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/gradient.cpp.o.d"
  "/tmp/mm/src/model/initial_value.cpp" "src/model/CMakeFiles/model.dir/initial_value.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/initial_value.cpp.o.d"
  "/tmp/mm/CMakeFiles/mapl_torch_pch.dir/cmake_pch.hxx" "src/model/CMakeFiles/model.dir/initial_value.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/initial_value.cpp.o.d"
  "/tmp/mm/src/model/kernels.cpp" "src/model/CMakeFiles/model.dir/kernels.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/kernels.cpp.o.d"
  "/tmp/mm/src/model/names.cpp" "src/model/CMakeFiles/model.dir/names.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/names.cpp.o.d"
  "/tmp/mm/CMakeFiles/mapl_torch_pch.dir/cmake_pch.hxx" "src/model/CMakeFiles/model.dir/names.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/names.cpp.o.d"
  "/tmp/mm/src/model/ops_composed.cpp" "src/model/CMakeFiles/model.dir/ops_composed.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/ops_composed.cpp.o.d"
  "/tmp/mm/CMakeFiles/mapl_torch_pch.dir/cmake_pch.hxx" "src/model/CMakeFiles/model.dir/ops_composed.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/ops_composed.cpp.o.d"
  "/tmp/mm/src/model/ops_fused.cpp" "src/model/CMakeFiles/model.dir/ops_fused.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/ops_fused.cpp.o.d"
  "/tmp/mm/CMakeFiles/mapl_torch_pch.dir/cmake_pch.hxx" "src/model/CMakeFiles/model.dir/ops_fused.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/ops_fused.cpp.o.d"
  "/tmp/mm/src/model/presets.cpp" "src/model/CMakeFiles/model.dir/presets.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/presets.cpp.o.d"
  "/tmp/mm/CMakeFiles/mapl_torch_pch.dir/cmake_pch.hxx" "src/model/CMakeFiles/model.dir/presets.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/presets.cpp.o.d"
  "/tmp/mm/src/model/rotary.cpp" "src/model/CMakeFiles/model.dir/rotary.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/rotary.cpp.o.d"
  "/tmp/mm/CMakeFiles/mapl_torch_pch.dir/cmake_pch.hxx" "src/model/CMakeFiles/model.dir/rotary.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/rotary.cpp.o.d"
  "/tmp/mm/src/model/stage.cpp" "src/model/CMakeFiles/model.dir/stage.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/stage.cpp.o.d"
  "/tmp/mm/CMakeFiles/mapl_torch_pch.dir/cmake_pch.hxx" "src/model/CMakeFiles/model.dir/stage.cpp.o" "gcc" "src/model/CMakeFiles/model.dir/stage.cpp.o.d"
  )

# Targets to which this target links.
set(CMAKE_TARGET_LINKED_INFO_FILES
  "/tmp/mm/src/base/CMakeFiles/base.dir/DependInfo.cmake"
  )

# Fortran module output directory.
set(CMAKE_Fortran_TARGET_MODULE_DIR "")
