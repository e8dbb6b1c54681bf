import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import { describe, expect, it } from 'vitest';

import { nativeChunks } from '../../native/chunks/chunks.ts';
import { openManifest } from '../../src/sealed/manifest.ts';
import { countingBytes, specificationInput, TRUST, writeFolder } from './fixtures.ts';
import { sealBySpecification } from './second-implementation.ts';

const PROGRAM = fileURLToPath(new URL('./unseal-and-scan.ts', import.meta.url));
const MEBIBYTE = 1024 * 1024;

function invertedHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.map((byte) => byte ^ 0xff)).toString('hex');
}

describe('what opening leaves in memory', () => {
  const ways = nativeChunks() === undefined ? ['portable'] : ['portable', 'native'];

  it.each(ways)(
    'W5, SW-22, SW-23: by the %s way nothing of plaintext or key, and little while it runs',
    (way) => {
      const marker = Buffer.from(countingBytes(0x90).map((byte) => (byte * 73) & 0xff));
      const modelKey = Uint8Array.from(marker, (byte) => (byte * 31 + 7) & 0xff);
      const weights = Buffer.alloc(96 * MEBIBYTE);
      for (let at = 0; at < weights.length; at += 4096) marker.copy(weights, at);
      const input = { ...specificationInput(new Map([['weights.bin', weights]])), modelKey };
      const sealed = sealBySpecification(input);
      const { digest } = openManifest(sealed.get('weightgate.manifest.json') ?? new Uint8Array(), TRUST);
      const values = [writeFolder(sealed), digest, invertedHex(modelKey), invertedHex(marker), way];
      const output = execFileSync(process.execPath, ['--no-warnings', PROGRAM, ...values], {
        encoding: 'utf8',
      });
      const report = JSON.parse(output) as Record<string, unknown>;
      expect(report['way']).toBe(way);
      expect(report['markerWhileOpen']).toBeGreaterThan(0);
      expect(report['marker']).toBe(0);
      expect(report['keys']).toBe(0);
      expect(report['overheadBytes']).toBeLessThan(64 * MEBIBYTE);
    },
    120_000,
  );
});
