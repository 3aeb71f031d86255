// The consumer's own file; Evenkeel has one of this name, whose includes must not find this one.
#pragma once

#define CONSUMER_NN_MODULE_H 1
