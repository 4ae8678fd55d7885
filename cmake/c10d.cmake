# What this LibTorch has of c10d: its targets say with which engines it was built, and c10d's headers
# need those of Gloo and NCCL. Sets MAPL_HAS_C10D (with Gloo) and MAPL_HAS_NCCL.

function(mapl_has_engine result definition header)
  set(found FALSE)
  foreach(target torch torch_cpu torch_cuda torch_hip)
    if(TARGET ${target})
      get_target_property(definitions ${target} INTERFACE_COMPILE_DEFINITIONS)
      if(definition IN_LIST definitions)
        set(found TRUE)
      endif()
    endif()
  endforeach()
  find_path(MAPL_${definition}_INCLUDE ${header} HINTS ${TORCH_INCLUDE_DIRS})
  mark_as_advanced(MAPL_${definition}_INCLUDE)
  if(NOT MAPL_${definition}_INCLUDE)
    set(found FALSE)
  endif()
  set(${result} ${found} PARENT_SCOPE)
endfunction()

mapl_has_engine(MAPL_HAS_C10D USE_C10D_GLOO gloo/context.h)
mapl_has_engine(MAPL_HAS_NCCL USE_C10D_NCCL nccl.h)
message(STATUS "c10d with Gloo: ${MAPL_HAS_C10D}, with NCCL: ${MAPL_HAS_NCCL}")
