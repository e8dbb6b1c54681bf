import { describe, expect, it } from 'vitest';

import { AmdKds, kdsPath } from '../../../src/platform/collateral/amd-kds.ts';
import type { CollateralItem, VcekItem } from '../../../src/platform/collateral/source.ts';
import { createDevelopmentAuthority } from '../../../src/platform/tls-authority.ts';
import { respond, startKeyServer, type KeyHandler } from '../../support/key-server.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';

const chain: CollateralItem = { kind: 'chain', line: 'Milan', signer: 'vcek' };
const revocations: CollateralItem = { kind: 'crl', line: 'Genoa', signer: 'vlek' };
const content = Uint8Array.of(1, 2, 3);

function vcek(first: number): VcekItem {
  const chipId = new Uint8Array(64).fill(0xab);
  chipId[0] = first;
  return {
    kind: 'vcek',
    line: 'Milan',
    chipId,
    tcb: { fmc: undefined, bootLoader: 4, tee: 0, snp: 24, microcode: 219 },
  };
}

const answering =
  (status: number, headers: Readonly<Record<string, string>> = {}): KeyHandler =>
  (_incoming, outgoing) => {
    outgoing.writeHead(status, headers);
    outgoing.end('no');
  };

/** Fails as the first handlers say, one request each, and then answers. */
const after = (...failures: readonly KeyHandler[]): KeyHandler => {
  const left = [...failures];
  return (incoming, outgoing) => {
    const failure = left.shift();
    if (failure === undefined) respond(outgoing, content);
    else failure(incoming, outgoing);
  };
};

describe('paths of the service', () => {
  it('CO-5: are those of AMD 57230', () => {
    expect(kdsPath(vcek(1))).toBe(
      `/vcek/v1/Milan/01${'ab'.repeat(63)}?blSPL=4&teeSPL=0&snpSPL=24&ucodeSPL=219`,
    );
    const turin = Uint8Array.from({ length: 64 }, (_, i) => (i < 8 ? i + 1 : 0));
    const tcb = { fmc: 1, bootLoader: 2, tee: 3, snp: 4, microcode: 82 };
    expect(kdsPath({ kind: 'vcek', line: 'Turin', chipId: turin, tcb })).toBe(
      '/vcek/v1/Turin/0102030405060708?fmcSPL=1&blSPL=2&teeSPL=3&snpSPL=4&ucodeSPL=82',
    );
    expect(kdsPath(chain)).toBe('/vcek/v1/Milan/cert_chain');
    expect(kdsPath({ ...chain, signer: 'vlek' })).toBe('/vlek/v1/Milan/cert_chain');
    expect(kdsPath(revocations)).toBe('/vlek/v1/Genoa/crl');
  });
});

describe('the client of the service', () => {
  it('CO-5: asks by https for exactly that path', async () => {
    const server = await startKeyServer(after());
    expect(await new AmdKds(server.options).find(vcek(7))).toEqual(Buffer.from(content));
    expect(server.asked).toEqual([kdsPath(vcek(7))]);
    expect(server.pauses).toEqual([]);
  });

  it('CO-6: asks once for what several want at once, and for one thing at a time', async () => {
    let underway = 0;
    let most = 0;
    const server = await startKeyServer((_incoming, outgoing) => {
      underway += 1;
      most = Math.max(most, underway);
      setTimeout(() => {
        underway -= 1;
        respond(outgoing, content);
      }, 20);
    });
    const source = new AmdKds(server.options);
    const wanted = [vcek(1), vcek(2), vcek(1), chain, vcek(2), chain];
    const answers = await Promise.all(wanted.map((item) => source.find(item)));
    expect(answers).toEqual(wanted.map(() => Buffer.from(content)));
    expect(server.asked).toEqual([vcek(1), vcek(2), chain].map(kdsPath));
    expect(most).toBe(1);
    await source.find(chain);
    expect(server.asked).toHaveLength(4);
  });

  it('CO-6: refuses when too much waits already', async () => {
    const server = await startKeyServer((_incoming, outgoing) => {
      setTimeout(() => {
        respond(outgoing, content);
      }, 5);
    });
    const source = new AmdKds(server.options);
    const items = Array.from({ length: 33 }, (_, i) => vcek(i));
    const codes = await Promise.all(items.map((item) => refusalCodeAsync(() => source.find(item))));
    expect(codes).toEqual([...Array.from({ length: 32 }, () => 'accepted'), 'kds-busy']);
  });

  it('CO-7: waits as long as it is told to, and for all that it asks', async () => {
    const server = await startKeyServer(after(answering(429, { 'retry-after': '7' })));
    const source = new AmdKds(server.options);
    const [first] = await Promise.all([source.find(chain), source.find(revocations)]);
    expect(first).toEqual(Buffer.from(content));
    expect(server.pauses).toHaveLength(1);
    expect(server.pauses[0]).toBeGreaterThanOrEqual(7000);
    expect(server.pauses[0]).toBeLessThan(8000);
  });

  it('CO-7: reads a date in Retry-After', async () => {
    const server = await startKeyServer((incoming, outgoing) => {
      const at = new Date((server.clock.posixSeconds() + 20) * 1000).toUTCString();
      if (server.asked.length === 1) answering(503, { 'retry-after': at })(incoming, outgoing);
      else respond(outgoing, content);
    });
    await new AmdKds(server.options).find(chain);
    expect(server.pauses[0]).toBeGreaterThanOrEqual(20_000);
    expect(server.pauses[0]).toBeLessThan(21_000);
  });

  it('CO-7: a wait that is too long ends the request, and the next ones without asking', async () => {
    const server = await startKeyServer(after(answering(429, { 'retry-after': '600' })));
    const source = new AmdKds(server.options);
    expect(await refusalCodeAsync(() => source.find(chain))).toBe('kds-busy');
    expect(await refusalCodeAsync(() => source.find(revocations))).toBe('kds-busy');
    expect(server.asked).toHaveLength(1);
    server.clock.advance(602_000);
    expect(await source.find(revocations)).toEqual(Buffer.from(content));
  });

  it('CO-7: waits longer each time, gives up, and then leaves the service alone', async () => {
    const server = await startKeyServer(answering(500));
    const source = new AmdKds(server.options);
    expect(await refusalCodeAsync(() => source.find(chain))).toBe('kds-busy');
    expect(server.asked).toHaveLength(4);
    expect(server.pauses.map((pause) => Math.floor(Math.log2(pause / 1000)))).toEqual([0, 1, 2]);
    expect(await refusalCodeAsync(() => source.find(revocations))).toBe('kds-busy');
    expect(server.asked).toHaveLength(4);
  });

  it('CO-8: does not ask again soon for what is not there', async () => {
    const server = await startKeyServer((_incoming, outgoing) => {
      respond(outgoing, undefined);
    });
    const source = new AmdKds(server.options);
    expect(await source.find(vcek(1))).toBeUndefined();
    expect(await source.find(vcek(1))).toBeUndefined();
    expect(server.asked).toHaveLength(1);
    await source.find(vcek(2));
    expect(server.asked).toHaveLength(2);
    server.clock.advance(10 * 60 * 1000);
    await source.find(vcek(1));
    expect(server.asked).toHaveLength(3);
  });

  it('CO-9: a slow answer times out, whether it begins or not', async () => {
    const silent = await startKeyServer(() => undefined);
    const options = { ...silent.options, timeoutMilliseconds: 60 };
    expect(await refusalCodeAsync(() => new AmdKds(options).find(chain))).toBe('kds-timeout');
    const trickling = await startKeyServer((_incoming, outgoing) => {
      outgoing.writeHead(200);
      outgoing.write('a');
    });
    const others = { ...trickling.options, timeoutMilliseconds: 60 };
    expect(await refusalCodeAsync(() => new AmdKds(others).find(chain))).toBe('kds-timeout');
  });

  it('CO-9: an answer that was cut is asked for again', async () => {
    const cut: KeyHandler = (_incoming, outgoing) => {
      outgoing.writeHead(200, { 'content-length': '100' });
      outgoing.write('a');
      setTimeout(() => outgoing.destroy(), 10);
    };
    const server = await startKeyServer(after(cut));
    expect(await new AmdKds(server.options).find(chain)).toEqual(Buffer.from(content));
    const broken = await startKeyServer(cut);
    expect(await refusalCodeAsync(() => new AmdKds(broken.options).find(chain))).toBe('kds-unreachable');
  });

  it('CO-9: too large an answer and an unknown status are refused at once', async () => {
    const oversize = await startKeyServer((_incoming, outgoing) => {
      respond(outgoing, new Uint8Array(8 * 1024 + 1));
    });
    expect(await refusalCodeAsync(() => new AmdKds(oversize.options).find(vcek(1)))).toBe('kds-answer');
    for (const status of [204, 302, 400, 403]) {
      const server = await startKeyServer(answering(status, { location: 'https://example.org/' }));
      expect(await refusalCodeAsync(() => new AmdKds(server.options).find(chain))).toBe('kds-answer');
      expect(server.asked).toHaveLength(1);
    }
    expect(oversize.asked).toHaveLength(1);
  });

  it('CO-9: another server in its place is not believed, and not asked twice', async () => {
    const server = await startKeyServer(after());
    const stranger = await createDevelopmentAuthority([], Math.floor(Date.now() / 1000));
    const options = { ...server.options, authorityCertificate: stranger.authority.certificate };
    expect(await refusalCodeAsync(() => new AmdKds(options).find(chain))).toBe('kds-not-trusted');
    expect(server.pauses).toEqual([]);
  });

  it('CO-9: nobody there', async () => {
    const server = await startKeyServer(after());
    const options = { ...server.options, address: 'https://127.0.0.1:1' };
    expect(await refusalCodeAsync(() => new AmdKds(options).find(chain))).toBe('kds-unreachable');
    expect(server.pauses).toHaveLength(3);
  });
});
