import { execFile, execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { rolldown } from 'rolldown';
import { afterEach, describe, expect, it } from 'vitest';

import { fromBase64, toBase64, toHex } from '../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import { makeSoftwareAttester, type KeyKind } from '../../support/software-attester.ts';
import type { BrowserCase } from './page.ts';

function findChromium(): string | undefined {
  try {
    return execFileSync('sh', ['-c', 'command -v chromium'], { encoding: 'utf8' }).trim();
  } catch {
    return undefined;
  }
}

const chromium = findChromium();
const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

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

async function makePage(cases: readonly BrowserCase[]): Promise<string> {
  const bundle = await rolldown({ input: join(import.meta.dirname, 'page.ts'), platform: 'browser' });
  const { output } = await bundle.generate({ format: 'esm' });
  await bundle.close();
  const data = JSON.stringify(cases);
  return `<!doctype html><body></body><script>cases = ${data}</script><script type="module">${output[0].code}</script>`;
}

/** WebCrypto exists in a page of the loopback address, not in one of a file. */
async function serve(page: string): Promise<string> {
  const server: Server = createServer((_request, response) => {
    response.setHeader('content-type', 'text/html; charset=utf-8').end(page);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => new Promise((resolve) => server.close(resolve)));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

async function openInChromium(program: string, address: string): Promise<string> {
  const profile = await mkdtemp(join(tmpdir(), 'weightgate-browser-'));
  cleanups.push(() => rm(profile, { recursive: true, force: true }));
  await writeFile(join(profile, 'First Run'), '');
  const options = ['--headless', '--no-sandbox', '--disable-gpu', `--user-data-dir=${profile}`];
  const limits = ['--virtual-time-budget=15000', '--dump-dom'];
  const { stdout } = await promisify(execFile)(program, [...options, ...limits, address]);
  return stdout;
}

describe.skipIf(chromium === undefined)(
  `the verifier in a browser${chromium === undefined ? ': chromium is not installed' : ''}`,
  () => {
    it('W10: gives the same verdicts as in Node', async () => {
      const kinds = ['ecc-p256', 'rsa-2048', 'rsa-pss-2048'] as const;
      const cases = (await Promise.all(kinds.map(makeCases))).flat();
      const shown = await openInChromium(chromium ?? '', await serve(await makePage(cases)));
      const answers = /ANSWERS (.*) END/.exec(shown)?.[1];
      const expected = 'accepted, tpm-quote-signature, tpm-quote-binding';
      expect(answers).toBe([expected, expected, expected].join(', '));
    });
  },
);
