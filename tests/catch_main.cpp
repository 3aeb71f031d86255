#if !__has_include(<catch2/catch_all.hpp>)
#  define CATCH_CONFIG_MAIN  // version 3 links its own
#endif
#include "catch.h"
