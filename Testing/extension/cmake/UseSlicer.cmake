# The commands that an extension calls; see SlicerConfig.cmake.

if("${PROJECT_NAME}" MATCHES "^(|Slicer|Project)$")
  message(FATAL_ERROR "An extension has to call project() with its name before it uses Slicer.")
endif()
set(EXTENSION_NAME "${PROJECT_NAME}")

# Slicer gives an extension the option BUILD_TESTING in this way.
include(CTest)

# Names a file that neither is there nor ends in .py once that is appended: nothing is built.
function(_require_files keyword)
  foreach(file IN LISTS ARGN)
    cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}")
    if(NOT EXISTS "${file}" AND NOT EXISTS "${file}.py")
      message(FATAL_ERROR "${keyword} lists '${file}', which does not exist.")
    endif()
  endforeach()
endfunction()

# Scripts and resources keep their relative paths below the folder of all scripted modules, or
# below one folder more, called like the source folder, with WITH_SUBDIR. What is installed is that
# folder of the build tree, with everything in it.
function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MODULE "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MODULE_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "Unknown arguments: ${MODULE_UNPARSED_ARGUMENTS}")
  elseif(NOT MODULE_NAME)
    message(FATAL_ERROR "A scripted module needs a NAME.")
  elseif(NOT MODULE_SCRIPTS)
    message(FATAL_ERROR "The scripted module ${MODULE_NAME} needs SCRIPTS.")
  endif()
  _require_files(SCRIPTS ${MODULE_SCRIPTS})
  _require_files(RESOURCES ${MODULE_RESOURCES})

  set(folder "${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")
  set(installed "${folder}/")
  if(MODULE_WITH_SUBDIR)
    cmake_path(GET CMAKE_CURRENT_SOURCE_DIR FILENAME name)
    string(APPEND folder "/${name}")
    set(installed "${folder}")
  endif()

  set(copies)
  foreach(file IN LISTS MODULE_SCRIPTS MODULE_RESOURCES)
    if("${file}" IN_LIST MODULE_SCRIPTS AND NOT "${file}" MATCHES "\\.py")
      string(APPEND file ".py")
    endif()
    add_custom_command(
      OUTPUT "${folder}/${file}"
      COMMAND "${CMAKE_COMMAND}" -E copy "${CMAKE_CURRENT_SOURCE_DIR}/${file}" "${folder}/${file}"
      DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${file}"
      VERBATIM
      )
    list(APPEND copies "${folder}/${file}")
  endforeach()
  add_custom_target(Copy${MODULE_NAME} ALL DEPENDS ${copies})
  install(DIRECTORY "${installed}" DESTINATION "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}"
    COMPONENT RuntimeLibraries USE_SOURCE_PERMISSIONS)

  if(BUILD_TESTING AND MODULE_WITH_GENERIC_TESTS)
    slicer_add_python_unittest(
      SCRIPT qSlicer${MODULE_NAME}ModuleGenericTest.py
      SLICER_ARGS --no-main-window --disable-cli-modules
      TESTNAME_PREFIX nomainwindow_
      )
  endif()
endfunction()

# Registers a test that starts Slicer with the arguments after `name`.
function(_add_slicer_test name)
  add_test(NAME "py_${name}" COMMAND ${Slicer_LAUNCHER_EXECUTABLE} --no-splash --testing ${ARGN}
    --additional-module-paths "${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")
  set_property(TEST "py_${name}" PROPERTY RUN_SERIAL TRUE)
endfunction()

function(slicer_add_python_unittest)
  cmake_parse_arguments(TEST "" "SCRIPT;TESTNAME_PREFIX" "SLICER_ARGS" ${ARGN})
  cmake_path(GET TEST_SCRIPT STEM name)
  _add_slicer_test("${TEST_TESTNAME_PREFIX}${name}" ${TEST_SLICER_ARGS}
    --python-code "import slicer.testing\\; slicer.testing.runUnitTest(['${CMAKE_CURRENT_BINARY_DIR}', '${CMAKE_CURRENT_SOURCE_DIR}'], '${name}')")
endfunction()

function(slicer_add_python_test)
  cmake_parse_arguments(TEST "" "SCRIPT;TESTNAME_PREFIX" "SLICER_ARGS;SCRIPT_ARGS" ${ARGN})
  cmake_path(GET TEST_SCRIPT STEM name)
  _require_files(SCRIPT ${TEST_SCRIPT})
  cmake_path(ABSOLUTE_PATH TEST_SCRIPT BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}")
  _add_slicer_test("${TEST_TESTNAME_PREFIX}${name}" ${TEST_SLICER_ARGS}
    --python-script "${TEST_SCRIPT}" ${TEST_SCRIPT_ARGS})
endfunction()
