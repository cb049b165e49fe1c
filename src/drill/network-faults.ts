import type { Scenario } from './scenario.js';
export const networkScenarios: readonly Scenario[] = [];
