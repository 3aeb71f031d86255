// Everything a program that uses Evenkeel needs. Installed as <evenkeel/evenkeel.h>.
#pragma once

#include "evenkeel/core/autograd.h"
#include "evenkeel/core/gradcheck.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/core/random.h"
#include "evenkeel/core/tensor.h"
#include "evenkeel/nn/data.h"
#include "evenkeel/nn/functional.h"
#include "evenkeel/nn/layers.h"
#include "evenkeel/nn/module.h"
#include "evenkeel/nn/optim.h"
#include "evenkeel/nn/safetensors.h"
