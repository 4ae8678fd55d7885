
# Consider dependencies only in project.
set(CMAKE_DEPENDS_IN_PROJECT_ONLY OFF)

# The set of languages for which implicit dependencies are needed:
set(CMAKE_DEPENDS_LANGUAGES
  )

# The set of dependency files which are needed:
set(CMAKE_DEPENDS_DEPENDENCY_FILES
  "/tmp/mm/src/model/config_test.cpp" "src/model/CMakeFiles/model_test.dir/config_test.cpp.o" "gcc" "src/model/CMakeFiles/model_test.dir/config_test.cpp.o.d"
  "/tmp/mm/CMakeFiles/mapl_torch_pch.dir/cmake_pch.hxx" "src/model/CMakeFiles/model_test.dir/config_test.cpp.o" "gcc" "src/model/CMakeFiles/model_test.dir/config_test.cpp.o.d"
  "/tmp/mm/src/model/initial_value_test.cpp" "src/model/CMakeFiles/model_test.dir/initial_value_test.cpp.o" "gcc" "src/model/CMakeFiles/model_test.dir/initial_value_test.cpp.o.d"
  "/tmp/mm/CMakeFiles/mapl_torch_pch.dir/cmake_pch.hxx" "src/model/CMakeFiles/model_test.dir/initial_value_test.cpp.o" "gcc" "src/model/CMakeFiles/model_test.dir/initial_value_test.cpp.o.d"
  "/tmp/mm/src/model/names_test.cpp" "src/model/CMakeFiles/model_test.dir/names_test.cpp.o" "gcc" "src/model/CMakeFiles/model_test.dir/names_test.cpp.o.d"
  "/tmp/mm/CMakeFiles/mapl_torch_pch.dir/cmake_pch.hxx" "src/model/CMakeFiles/model_test.dir/names_test.cpp.o" "gcc" "src/model/CMakeFiles/model_test.dir/names_test.cpp.o.d"
  "/tmp/mm/src/model/ops_test.cpp" "src/model/CMakeFiles/model_test.dir/ops_test.cpp.o" "gcc" "src/model/CMakeFiles/model_test.dir/ops_test.cpp.o.d"
  "/tmp/mm/CMakeFiles/mapl_torch_pch.dir/cmake_pch.hxx" "src/model/CMakeFiles/model_test.dir/ops_test.cpp.o" "gcc" "src/model/CMakeFiles/model_test.dir/ops_test.cpp.o.d"
  "/tmp/mm/src/model/presets_test.cpp" "src/model/CMakeFiles/model_test.dir/presets_test.cpp.o" "gcc" "src/model/CMakeFiles/model_test.dir/presets_test.cpp.o.d"
  "/tmp/mm/CMakeFiles/mapl_torch_pch.dir/cmake_pch.hxx" "src/model/CMakeFiles/model_test.dir/presets_test.cpp.o" "gcc" "src/model/CMakeFiles/model_test.dir/presets_test.cpp.o.d"
  "/tmp/mm/src/model/stage_test.cpp" "src/model/CMakeFiles/model_test.dir/stage_test.cpp.o" "gcc" "src/model/CMakeFiles/model_test.dir/stage_test.cpp.o.d"
  "/tmp/mm/CMakeFiles/mapl_torch_pch.dir/cmake_pch.hxx" "src/model/CMakeFiles/model_test.dir/stage_test.cpp.o" "gcc" "src/model/CMakeFiles/model_test.dir/stage_test.cpp.o.d"
  )

# Targets to which this target links.
set(CMAKE_TARGET_LINKED_INFO_FILES
  "/tmp/mm/src/model/CMakeFiles/model.dir/DependInfo.cmake"
  "/tmp/mm/src/base/CMakeFiles/base.dir/DependInfo.cmake"
  )

# Fortran module output directory.
set(CMAKE_Fortran_TARGET_MODULE_DIR "")
