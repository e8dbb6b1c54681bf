/** W10: quotes of a TPM have the same verdicts in a browser as in Node. */

import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { fromBase64, toBase64, toHex } from '../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import { makeSoftwareAttester, type KeyKind } from '../../support/software-attester.ts';
import { findChromium, runInChromium } from './chromium.ts';
import type { BrowserCase } from './tpm-page.ts';

const chromium = findChromium();

async function makeCases(kind: KeyKind): Promise<readonly BrowserCase[]> {
  const attester = await makeSoftwareAttester(kind);
  const { inputs, anchor } = attester;
  const evidence = await attester.evidence();
  const altered = structuredClone(evidence) as { attest: string };
  const attest = fromBase64(altered.attest, 'attest');
  attest[attest.length - 1] = (attest.at(-1) ?? 0) ^ 1;
  altered.attest = toBase64(attest);
  const question = {
    lab: inputs.lab,
    time: inputs.time,
    policy: inputs.policy,
    referenceValues: inputs.referenceValues,
    enrolment: inputs.enrolment as JsonValue,
    expectedDeviceValue: toHex(inputs.expectedDeviceValue),
    anchors: [{ ...anchor, certificate: toHex(anchor.certificate) }],
  };
  return [
    { ...question, evidence },
    { ...question, evidence: altered },
    { ...question, evidence, expectedDeviceValue: '00'.repeat(32) },
  ];
}

describe.skipIf(chromium === undefined)(
  `the verifier in a browser${chromium === undefined ? ': chromium is not installed' : ''}`,
  () => {
    it('W10: gives the same verdicts as in Node', async () => {
      const kinds = ['ecc-p256', 'rsa-2048', 'rsa-pss-2048'] as const;
      const cases = (await Promise.all(kinds.map(makeCases))).flat();
      const page = join(import.meta.dirname, 'tpm-page.ts');
      const answers = await runInChromium(chromium ?? '', page, JSON.stringify(cases));
      const expected = 'accepted, tpm-quote-signature, tpm-quote-binding';
      expect(answers).toBe([expected, expected, expected].join(', '));
    }, 120_000);
  },
);
