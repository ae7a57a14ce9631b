"""The world of the demo: who is in it, what they sell, and at which prices. Names and numbers only."""

from dataclasses import dataclass

EDITION = "demo-1"


@dataclass(frozen=True)
class Person:
    """A member. `role` is boss, admin, finance or member."""

    role: str
    name: str


@dataclass(frozen=True)
class Company:
    """An organization; `people` have the mailboxes <first name>@<domain>. Prices are multiplied by `markup`."""

    domain: str
    name: str
    seller: str
    currency: str
    language: str
    street: str
    postal_code: str
    city: str
    country: str
    tax_id: str
    people: tuple[Person, ...]
    integration_code: str = ""
    primary: str = "#334155"
    accent: str = "#94a3b8"
    footer: str = ""


@dataclass(frozen=True)
class Selling:
    """How a seller sells: its tax, and its prices as percent of the platform's."""

    tax_name: str
    tax_ppm: int
    percent: int


@dataclass(frozen=True)
class Article:
    """A SKU. Prices of the platform in cents of EUR; other currencies by `RATES`."""

    code: str
    product: str
    type: str
    name: str
    unit: str
    cents: int
    contents: tuple[str, ...] = ()


def _team(boss: str, finance: str, *members: str) -> tuple[Person, ...]:
    return (Person("boss", boss), Person("finance", finance), *(Person("member", name) for name in members))


NIMBUS = "nimbus.example"
ALPEN, NORTHWIND, PRAIRIE, HARBOUR = "alpenproxy.example", "northwind.example", "prairie.example", "harbour.example"
LANTERN = "lantern.example"
THISTLE = "thistle.example"

PLATFORM = Company(
    NIMBUS, "Nimbus Networks Ltd", "", "EUR", "en", "4 Harcourt Row", "D02 X285", "Dublin", "IE", "IE 6388047V",
    (*_team("Aoife Byrne", "Declan Walsh"), Person("admin", "Niamh Kelly")),
    primary="#0f766e", accent="#99f6e4", footer="nimbus.example · +353 1 555 0100",
)  # fmt: skip
SELLERS = (
    Company(
        ALPEN, "Alpenproxy GmbH", NIMBUS, "EUR", "de", "Leopoldstraße 41", "80802", "München", "DE", "DE 811 907 980",
        _team("Katharina Huber", "Florian Maier"), "P-100", "#b91c1c", "#fecaca", "alpenproxy.example · München",
    ),
    Company(
        NORTHWIND, "Northwind Cloud Ltd", NIMBUS, "GBP", "en", "18 Wharf Lane", "SE1 9PL", "London", "GB",
        "GB 293 1102 04", _team("Oliver Hart", "Priya Nair"), "P-101", "#1d4ed8", "#bfdbfe", "northwind.example",
    ),
    Company(
        PRAIRIE, "Prairie Networks Inc", NIMBUS, "USD", "en", "2200 Congress Ave", "78704", "Austin, TX", "US",
        "US 74-2211999", _team("Wyatt Cole", "Dana Reyes"), "P-102", "#a16207", "#fde68a", "prairie.example",
    ),
    Company(
        HARBOUR, "Harbour Digital Ltd", NORTHWIND, "GBP", "en", "7 Quayside", "BS1 4RW", "Bristol", "GB",
        "GB 318 4471 92", _team("Imogen Clarke", "Ravi Shah"), "NW-7", "#7c3aed", "#ddd6fe", "harbour.example",
    ),
)  # fmt: skip
SELLING = {
    NIMBUS: Selling("Reverse charge", 0, 100),
    ALPEN: Selling("MwSt.", 190_000, 140),
    NORTHWIND: Selling("VAT", 200_000, 125),
    HARBOUR: Selling("VAT", 200_000, 165),
    PRAIRIE: Selling("Sales tax", 0, 150),
}
RATES = {"EUR": 1.0, "GBP": 0.86, "USD": 1.08}

ARTICLES = (
    Article("residential-eu-30d", "Residential Proxy", "PROXY", "Europe, 30 days", "proxy", 1150),
    Article("residential-us-30d", "Residential Proxy", "PROXY", "United States, 30 days", "proxy", 1275),
    Article("datacenter-de-30d", "Datacenter Proxy", "PROXY", "Frankfurt, 30 days", "proxy", 390),
    Article("mobile-uk-30d", "Mobile Proxy", "PROXY", "United Kingdom 5G, 30 days", "proxy", 2840),
    Article(
        "team-starter", "Team Starter", "PACKAGE", "one month", "package", 4900,
        ("5 browser profiles", "10 datacenter proxies", "1 cloud phone, 20 hours"),
    ),
    Article(
        "growth-studio", "Growth Studio", "PACKAGE", "one month", "package", 16900,
        ("50 browser profiles", "40 residential proxies", "5 cloud phones, 200 hours"),
    ),
)  # fmt: skip

# Customers: domain, name, boss, who buys, street, postal code, city. The rest follows from their seller.
_CUSTOMERS: dict[str, tuple[tuple[str, str, str, str, str, str, str], ...]] = {
    ALPEN: (
        (
            "edelweiss.example",
            "Edelweiss Reisen KG",
            "Anna Gruber",
            "Lukas Bauer",
            "Marktgasse 3",
            "83022",
            "Rosenheim",
        ),
        ("isar-media.example", "Isar Media GmbH", "Jonas Wagner", "Mia Schulz", "Isartorplatz 8", "80331", "München"),
        ("spreewerk.example", "Spreewerk UG", "Lena Fischer", "Paul Koch", "Oranienstr. 120", "10969", "Berlin"),
        ("hansekontor.example", "Hansekontor AG", "Jan Petersen", "Svea Lorenz", "Am Sandtorkai 5", "20457", "Hamburg"),
        ("neckartal.example", "Neckartal Daten GmbH", "Elif Yilmaz", "Tim Roth", "Uferstr. 22", "69120", "Heidelberg"),
        ("rheinblick.example", "Rheinblick Shop", "Nora Klein", "Max Vogel", "Rheinpromenade 9", "40221", "Düsseldorf"),
        ("steiermark.example", "Steiermark Online", "Eva Pichler", "Felix Moser", "Herrengasse 14", "8010", "Graz"),
        ("bodensee.example", "Bodensee Verlag", "Hanna Keller", "David Frei", "Seestr. 2", "78464", "Konstanz"),
        ("elbtal.example", "Elbtal Analytik", "Ines Richter", "Karl Wolf", "Elbufer 77", "01067", "Dresden"),
    ),
    NORTHWIND: (
        ("thistle.example", "Thistle & Co", "Fiona Reid", "Callum Boyd", "21 Cockburn St", "EH1 1BP", "Edinburgh"),
        ("camden.example", "Camden Listings", "Zara Ali", "Noah Price", "88 Parkway", "NW1 7AN", "London"),
        ("pennine.example", "Pennine Research", "Grace Lowe", "Adam Firth", "3 Mill Rd", "HX1 2DR", "Halifax"),
        ("fenland.example", "Fenland Data", "Rosa Beck", "Hugh Gill", "12 Quay Side", "CB5 8AB", "Cambridge"),
        ("cotswold.example", "Cotswold Travel", "Amy Webb", "Ben Stone", "5 High St", "GL54 1AF", "Cheltenham"),
        ("mersey.example", "Mersey Market", "Sean Doyle", "Lily Burns", "40 Castle St", "L2 7LA", "Liverpool"),
        ("solent.example", "Solent Apps", "Maya Fox", "Jack Dunn", "9 Ocean Way", "SO14 3TJ", "Southampton"),
    ),
    HARBOUR: (
        (LANTERN, "Lantern Press", "Tom Ashby", "Maya Lindqvist", "14 Corn Street", "BS1 1HQ", "Bristol"),
        ("severn.example", "Severn Survey", "Ella Nash", "Owen Rees", "2 Bridge St", "NP16 5EY", "Chepstow"),
        ("mendip.example", "Mendip Media", "Ruth Hale", "Leo Marsh", "31 Market Pl", "BA5 2RF", "Wells"),
        ("clifton.example", "Clifton Goods", "Iris Moon", "Sam Cope", "6 The Mall", "BS8 4DR", "Bristol"),
        ("avonside.example", "Avonside Tickets", "Kate Long", "Joe Pratt", "17 Avon St", "BA1 1UP", "Bath"),
        ("dartmoor.example", "Dartmoor Maps", "Beth Lane", "Will Tor", "1 Duchy Sq", "PL20 6QF", "Princetown"),
    ),
    PRAIRIE: (
        ("bluebonnet.example", "Bluebonnet Ads", "Ruby Hill", "Cody West", "410 Elm St", "75202", "Dallas, TX"),
        ("lonestar.example", "Lone Star Leads", "June Park", "Ty Brooks", "77 Main St", "77002", "Houston, TX"),
        ("mesa.example", "Mesa Metrics", "Eve Ortiz", "Ian Cruz", "5 Mesa Dr", "79901", "El Paso, TX"),
        ("pecan.example", "Pecan Commerce", "Ada Wynn", "Gus Hale", "900 Pecan St", "78701", "Austin, TX"),
        ("alamo.example", "Alamo Insights", "Liz Vega", "Ray Luna", "300 Alamo Plz", "78205", "San Antonio, TX"),
        ("brazos.example", "Brazos Travel", "Amy Tran", "Dan Kim", "12 Baylor Ave", "76706", "Waco, TX"),
        ("redriver.example", "Red River Shop", "Sue Cook", "Al Price", "8 River Rd", "75460", "Paris, TX"),
        ("gulfcoast.example", "Gulf Coast Co", "Meg Ross", "Hal Dean", "1 Seawall Blvd", "77550", "Galveston, TX"),
    ),
}


def _customers() -> tuple[Company, ...]:
    sellers = {seller.domain: seller for seller in SELLERS}
    return tuple(
        Company(
            domain, name, seller_domain, sellers[seller_domain].currency, sellers[seller_domain].language, street,
            postal_code, city, sellers[seller_domain].country, f"{sellers[seller_domain].country} {700100 + number}",
            (Person("boss", boss), Person("member", buyer)), f"C-{number:03d}",
        )
        for number, (seller_domain, (domain, name, boss, buyer, street, postal_code, city)) in enumerate(
            ((seller_domain, row) for seller_domain, rows in _CUSTOMERS.items() for row in rows), start=1
        )
    )  # fmt: skip


CUSTOMERS = _customers()
COMPANIES = (PLATFORM, *SELLERS, *CUSTOMERS)


@dataclass(frozen=True)
class Payment:
    """A top-up of each run, in whole units. `how` is bank, card or declined card."""

    domain: str
    amount: int
    how: str


PAYMENTS = (
    Payment(ALPEN, 5000, "bank"),
    Payment(NORTHWIND, 5000, "bank"),
    Payment(HARBOUR, 3000, "card"),
    Payment(LANTERN, 400, "bank"),
    Payment("severn.example", 600, "card"),
    Payment("mendip.example", 600, "card"),
    Payment("clifton.example", 80, "declined card"),
    Payment("thistle.example", 600, "card"),
    Payment("camden.example", 600, "card"),
    Payment("pennine.example", 600, "bank"),
    Payment("fenland.example", 600, "card"),
    Payment("edelweiss.example", 600, "bank"),
    Payment("isar-media.example", 600, "card"),
    Payment("spreewerk.example", 600, "card"),
    Payment("hansekontor.example", 600, "card"),
    Payment("bluebonnet.example", 300, "card"),
)

# Purchases of each run: who, what, how many. Prices are chosen so that nobody runs out.
PURCHASES = tuple(
    (domain, code, quantity)
    for domain in (
        "severn.example", "mendip.example", "thistle.example", "camden.example", "pennine.example", "fenland.example",
        "edelweiss.example", "isar-media.example", "spreewerk.example", "hansekontor.example",
    )
    for code, quantity in (("datacenter-de-30d", 5), ("residential-eu-30d", 2), ("mobile-uk-30d", 1))
)  # fmt: skip
SHOWCASE = (("team-starter", 1), ("residential-eu-30d", 2))
# Its customer has the money; Prairie itself has none with the platform.
REFUSED = ("bluebonnet.example", "team-starter", 1)


def mailbox(person: Person, domain: str) -> str:
    """Such as `maya@lantern.example`."""
    return f"{person.name.split()[0].lower()}@{domain}"


def logo(company: Company) -> bytes:
    """A small mark in the company's colours, with its initial."""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" width="64" height="64">'
        f'<rect width="64" height="64" rx="16" fill="{company.primary}"/>'
        f'<circle cx="46" cy="18" r="7" fill="{company.accent}"/>'
        f'<path d="M16 48 L16 22 L36 48 L36 22" fill="none" stroke="#ffffff" stroke-width="6" '
        'stroke-linecap="round" stroke-linejoin="round"/></svg>'
    ).encode()
