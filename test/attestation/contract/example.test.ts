/** The template's own rules, and that it stays a template. */

import { globSync, readFileSync } from 'node:fs';

import { describe, expect, it } from 'vitest';

import { exampleDeviceClass } from '../../../attestation/example/device-class.ts';
import { readStatement, writeStatement } from '../../../attestation/example/layout.ts';
import type { Statement } from '../../../attestation/example/layout.ts';
import { makeSoftwareExampleDevice } from './example-fixture.ts';

const device = makeSoftwareExampleDevice();

async function codes(statement: Partial<Statement>): Promise<readonly string[]> {
  const evidence = exampleDeviceClass.parse(device.evidence(device.statement(statement)), 'evidence');
  const verdict = await exampleDeviceClass.verify(evidence, device.inputs);
  return verdict.outcome === 'accepted' ? ['accepted'] : verdict.refusals.map(({ code }) => code);
}

describe('the device class example', () => {
  it('reads what it writes', () => {
    const bytes = writeStatement(device.statement());
    expect(writeStatement(readStatement(bytes, 'statement'))).toEqual(bytes);
    expect(bytes).toHaveLength(96);
  });

  it('refuses debug, old firmware and another measurement, all that is wrong at once', async () => {
    expect(await codes({})).toEqual(['accepted']);
    expect(await codes({ flags: { debug: true } })).toEqual(['example-debug']);
    expect(await codes({ firmwareVersion: 6 })).toEqual(['example-firmware']);
    expect(await codes({ firmwareVersion: 6, measurement: new Uint8Array(32) })).toEqual([
      'example-firmware',
      'example-measurement',
    ]);
  });

  it('refuses a statement for another challenge', async () => {
    expect(await codes({ deviceValue: new Uint8Array(32) })).toEqual(['example-binding']);
  });

  it('refuses a key that is certified for something else', async () => {
    const tls = makeSoftwareExampleDevice({ mayIssue: true });
    const evidence = exampleDeviceClass.parse(tls.evidence(), 'evidence');
    expect(await exampleDeviceClass.verify(evidence, tls.inputs)).toMatchObject({
      outcome: 'refused',
      family: 'inauthentic',
      refusals: [{ code: 'example-key-use' }],
    });
  });

  it('DC-15: is imported by nothing but tests', () => {
    const modules = globSync('{src,native,scripts,bench,attestation/{core,tpm,sev-snp,nvidia-gpu}}/**/*.ts');
    expect(modules.length).toBeGreaterThan(50);
    const importers = modules.filter((module) =>
      /attestation\/example|\.\.\/example\//.test(readFileSync(module, 'utf8')),
    );
    expect(importers).toEqual([]);
  });
});
