// Everything a program that uses Evenkeel needs. Installed as <evenkeel/evenkeel.h>.
#pragma once

#include "core/autograd.h"
#include "core/gradcheck.h"
#include "core/ops.h"
#include "core/random.h"
#include "core/tensor.h"
#include "nn/data.h"
#include "nn/functional.h"
#include "nn/layers.h"
#include "nn/models.h"
#include "nn/module.h"
#include "nn/optim.h"
#include "nn/safetensors.h"
