// The consumer's own file; Evenkeel has one of this name, whose includes must not find this one.
#pragma once

#define CONSUMER_CORE_ERROR_H 1
