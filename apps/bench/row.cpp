#include "bench/row.h"

#include "bench/op_rows.h"

namespace evenkeel::bench {

double Row::least_bytes() const {
  double bytes = 0;
  for (const Operand& operand : operands) {
    if (operand.role == Role::host) continue;
    bytes += static_cast<double>(operand.bytes()) * (operand.role == Role::in_out ? 2 : 1);
  }
  return bytes;
}

std::string Row::name() const {
  return fmt::format("{} {} {}{}{} {} {}", op, pass, shape.str(), variant.empty() ? "" : " ", variant,
                     name_of(dtype), layout);
}

nlohmann::json Row::json() const {
  return {{"op", op},
          {"pass", pass},
          {"variant", variant},
          {"dtype", name_of(dtype)},
          {"layout", layout},
          {"shape", sizes_of(shape)},
          {"parameters", parameters.is_null() ? nlohmann::json::object() : parameters},
          {"least_bytes", least_bytes()},
          {"flops", flops}};
}

Row make_row(std::string op, std::string pass, const Shape& x, const Kind& kind, double flops) {
  Row row;
  row.op = std::move(op);
  row.pass = std::move(pass);
  row.dtype = kind.dtype;
  row.shape = x;
  row.flops = flops * static_cast<double>(x.numel());
  return row;
}

const std::vector<Op>& ops() {
  static const std::vector<Op> all = [] {
    std::vector<Op> list{conv2d_op()};
    for (const auto& part : {norm_ops(), pool_ops(), elementwise_ops(), step_ops()}) {
      list.insert(list.end(), part.begin(), part.end());
    }
    list.push_back(train_op());
    return list;
  }();
  return all;
}

}  // namespace evenkeel::bench
