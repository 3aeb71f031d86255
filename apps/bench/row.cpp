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
  row.layout = kind.layout;
  row.dtype = kind.dtype;
  row.shape = x;
  row.flops = flops * static_cast<double>(x.numel());
  return row;
}

std::int64_t Kind::memory_size(const Shape& shape) const {
  if (format() == MemoryFormat::strided) return shape.numel();
  return empty(shape, {dtype}, MemoryFormat::lanes).lanes_memory().numel();
}

std::vector<std::string> layouts(Device device) {
  return device.is_cpu() ? std::vector<std::string>{"nchw", "lanes"} : std::vector<std::string>{"nchw"};
}

bool lay_out(Row& row, const Kind& kind) {
  if (kind.format() == MemoryFormat::strided) return true;
  if (row.shape.rank() != 4) return false;
  const bool statistics_of_images = row.op != "batch_norm";
  for (Operand& operand : row.operands) {
    const std::string& name = operand.name;
    const bool images = name == "x" || name == "dx" || name == "y" || name == "dy" || name == "tap";
    const bool statistics = statistics_of_images && (name == "mean" || name == "rstd");
    if (images || statistics) operand.format = kind.format();
  }
  return true;
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
