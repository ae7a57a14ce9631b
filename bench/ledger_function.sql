-- The other side of the charge rows: one call, one purchase at three tiers, the same rows that wallet writes.
-- Written as well as one would: what nobody shares is written first, the wallets are locked by their own UPDATE from
-- the customer up (the order is the same for all, and the busiest wallet is held the shortest), nothing is read twice.
CREATE FUNCTION bench_id(number bigint) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT ('00000000-0000-7000-8000-' || (100000000000 + number)::text)::uuid
$$;

CREATE FUNCTION bench_post_charge(
  root uuid, order_id uuid, order_number text, item text, request_key text, request_sha256 bytea, currency text,
  buyers uuid[], sellers uuid[], nets bigint[], taxes bigint[], payload bytea
) RETURNS uuid LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
  transaction_id uuid := uuidv7();
  known record;
  posted_at timestamptz := clock_timestamp();
  digest bytea;
  total bigint;
  wallet record;
BEGIN
  INSERT INTO transactions (root_id, id, organization_id, order_id, posted_at, type, currency, order_number, item,
                            request_key, request_sha256, kind, original_id, cloud_phone_id)
    VALUES (root, transaction_id, buyers[1], order_id, posted_at, 2, currency, order_number, item, request_key,
            request_sha256, 2, NULL, '')
    ON CONFLICT ON CONSTRAINT transactions_request DO NOTHING;
  IF NOT FOUND THEN
    SELECT t.id, t.request_sha256 AS hash INTO known FROM transactions t
      WHERE t.root_id = root AND t.request_key = request_key;
    IF known.hash <> request_sha256 THEN
      RAISE EXCEPTION 'this request id was used before with another body';
    END IF;
    RETURN known.id;
  END IF;
  INSERT INTO outbox (root_id, event_id, topic, key, payload)
    VALUES (root, uuidv7(), 'farthing.wallet.v1', buyers[1]::text, payload);
  digest := sha256(uuid_send(root) || uuid_send(transaction_id) || uuid_send(buyers[1]) || uuid_send(order_id)
                   || timestamptz_send(posted_at) || int2send(2::smallint) || int2send(2::smallint)
                   || convert_to(currency || order_number || item || request_key, 'UTF8') || request_sha256);
  FOR tier IN 1 .. array_length(buyers, 1) LOOP
    total := nets[tier] + taxes[tier];
    UPDATE wallets w
      SET balance_micros = w.balance_micros - total, sequence = w.sequence + 1, last_posted_at = posted_at,
          last_hash = sha256(w.last_hash || digest || uuid_send(w.id) || uuid_send(w.organization_id)
                             || uuid_send(w.seller_id) || int8send(w.sequence + 1) || int2send(tier::smallint)
                             || int8send(-total) || int8send(nets[tier]) || int8send(taxes[tier])
                             || int8send(w.balance_micros - total) || int8send(w.credit_limit_micros) || int8send(0))
      WHERE w.root_id = root AND w.organization_id = buyers[tier] AND w.currency = currency AND w.state = 1
        AND w.seller_id = sellers[tier] AND w.balance_micros - w.reserved_micros + w.credit_limit_micros >= total
      RETURNING w.id, w.sequence, w.balance_micros, w.credit_limit_micros, w.last_hash INTO wallet;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'tier %: no such wallet, or it lacks credit', tier;
    END IF;
    INSERT INTO lines (root_id, wallet_id, transaction_id, organization_id, seller_id, sequence, amount_micros,
                       revenue_micros, tax_micros, cash_micros, clearing_micros, balance_after_micros,
                       credit_limit_micros, posted_at, tier, type, credits_micros, hash)
      VALUES (root, wallet.id, transaction_id, buyers[tier], sellers[tier], wallet.sequence, -total,
              nets[tier], taxes[tier], 0, 0, wallet.balance_micros, wallet.credit_limit_micros, posted_at,
              tier, 2, 0, wallet.last_hash);
  END LOOP;
  RETURN transaction_id;
END $$;

-- What a caller of that function would send, made from pgbench's numbers; the event is as long as wallet's own.
CREATE FUNCTION bench_purchase(customer bigint, reseller bigint, partner bigint) RETURNS uuid LANGUAGE sql AS $$
  SELECT bench_post_charge(
    bench_id(partner), uuidv7(), 'ORD-2026-004512', 'Cloud Phone Business, 12 months',
    'orders:' || gen_random_uuid()::text, '\x:sha256'::bytea, 'USD',
    ARRAY[bench_id(customer), bench_id(reseller), bench_id(partner)],
    ARRAY[bench_id(reseller), bench_id(partner), bench_id(1)],
    ARRAY[12000000, 9000000, 7000000]::bigint[], ARRAY[2280000, 1710000, 1330000]::bigint[],
    '\x:payload'::bytea)
$$;
