# Stands in for a build of Slicer when the tests configure, build and install the extension. It does
# what Slicer 5.12 and 5.13 do with the commands and variables that a pure Python extension uses,
# and knows no others, so that a wrong one is an error here too.

set(Slicer_FOUND TRUE)
set(Slicer_USE_PYTHONQT ON)
# Any program that exists: CTest lists the arguments of no other. The tests are never run.
set(Slicer_LAUNCHER_EXECUTABLE "${CMAKE_COMMAND}")

if(NOT Slicer_VERSION)
  set(Slicer_VERSION 5.12)
endif()
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "lib/Slicer-${Slicer_VERSION}/qt-scripted-modules")
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR "./${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")

set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/GenerateConfig.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/Package.cmake")
