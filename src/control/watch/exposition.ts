import { collectDefaultMetrics, Registry, type Metric } from 'prom-client';
import type { Counters } from './counters.js';
import { METRICS, samplesOf } from './metrics.js';
import type { CountersView } from './view.js';

/** Of Node itself, beside ours: its histogram of the main thread's delays looks so often. */
const EVENT_LOOP_PRECISION_MS = 100;

const MISNAMED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total'];

/** The counters in the text format of Prometheus, with those of the process that prom-client knows. */
export class Exposition {
  readonly contentType = Registry.PROMETHEUS_CONTENT_TYPE;
  #registry: Registry | null = null;
  #view: CountersView | null = null;

  constructor(private readonly counters: Counters) {}

  async text(): Promise<string> {
    this.#view = await this.counters.view();
    // From the first time that somebody asks: looking at the event loop costs a little.
    this.#registry ??= this.#register();
    return this.#registry.metrics();
  }

  #register(): Registry {
    const registry = new Registry();
    collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: EVENT_LOOP_PRECISION_MS });
    // Gauges by the names of counters; others tell the same by type.
    for (const name of MISNAMED) registry.removeSingleMetric(name);
    for (const metric of METRICS) {
      const { name, help, type } = metric;
      // prom-client's own metrics count; ours have been counted, and are read: a registry asks no more of a metric than this.
      const read = {
        name,
        help,
        type,
        aggregator: 'sum',
        get: () => ({ name, help, type, aggregator: 'sum', values: samplesOf(metric, this.#view!) }),
      };
      registry.registerMetric(read as unknown as Metric);
    }
    return registry;
  }
}
