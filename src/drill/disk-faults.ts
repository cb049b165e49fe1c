import type { Scenario } from './scenario.js';
export const diskScenarios: readonly Scenario[] = [];
