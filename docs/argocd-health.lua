-- Health of a Cluster, Topic or ConsumerGroup for Argo CD, by its conditions (kstatus).
local health = {status = "Progressing", message = "not looked at yet"}
local status = obj.status
if status == nil or status.conditions == nil then
  return health
end
for _, condition in ipairs(status.conditions) do
  local fresh = condition.observedGeneration == nil or condition.observedGeneration >= obj.metadata.generation
  if condition.type == "Stalled" and condition.status == "True" and fresh then
    return {status = "Degraded", message = condition.message}
  end
  if condition.type == "Ready" then
    health.message = condition.message
    if condition.status == "True" and fresh then
      health.status = "Healthy"
    elseif condition.reason == "Paused" then
      health.status = "Suspended"
    end
  end
end
return health
