"""lxml: documents are made into others by a stylesheet, checked by a path and counted; few stay."""
from lxml import etree

TO_PAGE = etree.XSLT(etree.XML("""
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
  <xsl:template match="/orders">
    <html><body><xsl:apply-templates select="order[@total &gt; 40]"/></body></html>
  </xsl:template>
  <xsl:template match="order">
    <div class="order"><h2><xsl:value-of select="@number"/></h2>
      <ul><xsl:for-each select="line">
        <li><xsl:value-of select="concat(@count, ' x ', .)"/></li>
      </xsl:for-each></ul>
    </div>
  </xsl:template>
</xsl:stylesheet>"""))

held, items = [], 0
for day in range(30):
    orders = []
    for number in range(700):
        lines = "".join('<line count="%d">article %d</line>' % (at + 1, (number * 7 + at) % 301)
                        for at in range(number % 5 + 1))
        orders.append('<order number="%d-%d" total="%d">%s</order>' % (day, number, number * 13 % 200, lines))
    document = etree.fromstring("<orders>%s</orders>" % "".join(orders))
    page = TO_PAGE(document)
    items += len(page.xpath("//li[contains(., 'article 1')]"))
    if day % 5 == 0:
        held.append(page)
print(items, len(held))
