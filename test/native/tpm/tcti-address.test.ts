import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { parseTctiAddress } from '../../../native/tpm/tcti-address.ts';
import { refusalCode } from '../../support/refusal-code.ts';

describe('the address of a TPM', () => {
  it.each([
    ['device:/dev/tpmrm0', { kind: 'device', path: '/dev/tpmrm0' }],
    ['swtpm:host=127.0.0.1,port=2400', { kind: 'swtpm', endpoint: { host: '127.0.0.1', port: 2400 } }],
    ['swtpm:port=2400', { kind: 'swtpm', endpoint: { host: 'localhost', port: 2400 } }],
    ['swtpm', { kind: 'swtpm', endpoint: { host: 'localhost', port: 2321 } }],
    ['swtpm:path=/run/tpm.sock', { kind: 'swtpm', endpoint: { path: '/run/tpm.sock' } }],
    ['tabrmd:bus_name=com.intel.tss2.Tabrmd', { kind: 'tabrmd' }],
  ])('TA-1: reads %s', (text, expected) => {
    expect(parseTctiAddress(text)).toEqual({ ...expected, text });
  });

  it.each([
    '',
    'device',
    'device:tpm0',
    'device:/dev/tpm 0',
    'cmd:sh',
    '/usr/lib/evil.so:x',
    'swtpm:port=0',
    'swtpm:port=65535',
    'swtpm:port=2321x',
    'swtpm:port=2321,port=2322',
    'swtpm:host=,port=2321',
    'swtpm:path=tpm.sock',
    'swtpm:path=/tpm.sock,port=2321',
    'swtpm:door=2321',
    'swtpm:=2321',
  ])('TA-1: refuses "%s"', (text) => {
    expect(refusalCode(() => parseTctiAddress(text))).toBe('tpm-address-malformed');
  });

  it('TA-1: only refuses, whatever the text', () => {
    const near = fc
      .tuple(fc.constantFrom('swtpm:', 'device:', 'tabrmd:', ''), fc.string())
      .map((parts) => parts.join(''));
    fc.assert(
      fc.property(near, (text) => {
        expect(['accepted', 'tpm-address-malformed']).toContain(refusalCode(() => parseTctiAddress(text)));
      }),
    );
  });
});
