import { readdirSync, readFileSync } from 'node:fs';

import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';

import { phaseField } from '../../src/governance/fields.ts';
import { openReleasePolicyEngine } from '../../src/policy/release-policy.ts';

const folder = new URL('../../policies/release/', import.meta.url);

const requestSchema = z.strictObject({
  action: z.enum(['obtain', 'renew']),
  lab: z.strictObject({ lab: z.string(), organisation: z.string(), jurisdiction: z.string() }),
  variant: z.enum(['base', 'aligned']),
  phase: phaseField,
  purpose: z.string(),
  mode: z.string(),
  deviceClasses: z.array(z.string()),
  simulated: z.boolean(),
});

const tableSchema = z.strictObject({
  policy: z.string(),
  request: requestSchema,
  rows: z
    .array(
      z.strictObject({
        name: z.string(),
        change: requestSchema.partial().default({}),
        answer: z.enum(['granted', 'refused']),
        reasons: z.array(z.string()),
      }),
    )
    .min(1),
});

const engine = await openReleasePolicyEngine();
const tables = readdirSync(new URL('tests/', folder)).filter((name) => name.endsWith('.yaml'));

describe('shipped release policies', () => {
  it('each has a table of its answers', () => {
    const policies = readdirSync(folder).filter((name) => name.endsWith('.cedar'));
    expect(tables.map((name) => name.replace('.yaml', '.cedar')).sort()).toEqual(policies.sort());
  });

  describe.each(tables)('%s', (file) => {
    const location = new URL(`tests/${file}`, folder);
    const table = tableSchema.parse(parse(readFileSync(location, 'utf8')));
    const program = engine.compile(readFileSync(new URL(table.policy, location), 'utf8'));

    it.each(table.rows)('GV-53: $name', ({ change, answer, reasons }) => {
      const request = { ...table.request, ...change } as z.infer<typeof requestSchema>;
      const { action, lab, variant, phase, purpose, mode, deviceClasses, simulated } = request;
      const model = { manifestDigest: '00', model: 'tern', version: '1.0', variant, phase };
      const machine = { deviceClasses, simulated };
      const found = program.ask({ action, lab, model, context: { purpose, mode, at: 0, machine } });
      expect(found).toEqual({ allowed: answer === 'granted', reasons, errors: [] });
    });

    it('every policy of it decides in some row', () => {
      const decided = new Set(table.rows.flatMap(({ reasons }) => reasons));
      expect([...decided].sort()).toEqual(program.policies.toSorted());
    });
  });
});
