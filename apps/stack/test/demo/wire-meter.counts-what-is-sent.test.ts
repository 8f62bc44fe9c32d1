import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import { WireMeter } from '../../src/demo/wire-meter.ts';

describe('The wire meter', () => {
  let server: Server;
  let meter: WireMeter;
  let url: string;

  beforeEach(async () => {
    server = createServer((request, response) => {
      let bytes = 0;
      request.on('data', (part: Buffer) => {
        bytes += part.length;
      });
      request.on('end', () => response.end(String(bytes).padEnd(2_000_000, '.')));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    meter = new WireMeter(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    url = await meter.start();
  });
  afterEach(async () => {
    await meter.stop();
    server.closeAllConnections();
    server.close();
  });

  it('passes requests and answers on whole, and counts what was sent but not what came back', async () => {
    const response = await fetch(url, { method: 'PUT', body: Buffer.alloc(3_000_000), headers: { connection: 'close' } });
    const text = await response.text();
    expect(text).to.have.length(2_000_000);
    expect(Number.parseInt(text, 10)).to.equal(3_000_000);
    expect(meter.sentBytes).to.be.within(3_000_000, 3_002_000);
  });

  it('says of an https endpoint that it cannot be metered', () => {
    expect([WireMeter.canMeter('https://s3.example'), WireMeter.canMeter('http://s3.example')]).to.deep.equal([false, true]);
  });
});
